package server

// localRoutes are the routes of local connections (connectors).
func (s *Server) localRoutes(addRoute) {}
