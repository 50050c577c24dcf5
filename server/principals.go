package server

// principalRoutes are the routes of tenants and principals.
func (s *Server) principalRoutes(addRoute) {}
