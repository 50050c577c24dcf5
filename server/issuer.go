package server

import "net/http"

// answerOpen answers what needs no token: where to sign in, and signing in. It
// is false for everything else.
func (s *Server) answerOpen(http.ResponseWriter, *http.Request) bool { return false }
