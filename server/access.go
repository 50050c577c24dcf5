package server

// accessRoutes are the routes of role definitions and assignments.
func (s *Server) accessRoutes(addRoute) {}
