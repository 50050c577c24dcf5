package azurestorage_test

// program is what an application is: it has its environment, and nothing else.
const program = "PATCHBAY_STORAGE_PROGRAM"

func goProgram(string) error { return nil }
