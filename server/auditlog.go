package server

// auditRoutes are the routes of the audit log.
func (s *Server) auditRoutes(addRoute) {}
