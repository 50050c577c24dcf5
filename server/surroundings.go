package server

// surroundingRoutes are the routes of what clients ask for around Microsoft.ServiceLinker.
func (s *Server) surroundingRoutes(addRoute) {}
