package mongodb_test

const program = "PATCHBAY_MONGODB_PROGRAM"

func goProgram() int { return 0 }
