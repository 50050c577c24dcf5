package server

// dryrunRoutes are the routes of dryruns.
func (s *Server) dryrunRoutes(addRoute) {}
