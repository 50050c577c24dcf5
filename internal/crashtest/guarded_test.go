package crashtest

// guarded is a target behind guards. What is open there is judged by what the guards'
// own programs say.
type guarded interface {
	target
	// behind registers the guards, and names them in the target's registration.
	behind(s *server, group string, registration map[string]any)
	// shared makes a connection of another source that speaks from the same addresses:
	// its opening has to be there whatever comes of the other one.
	shared(s *server, w *world)
	// opened fails the test unless open is exactly what that connection needs with that
	// access, and the shared one. env is what its source holds, nil: there is none.
	opened(linker string, env map[string]string, access string)
	// closed takes the shared connection away, and fails the test unless nothing is open
	// then.
	closed(s *server)
}
