package s3_test

// program is what an application is: it has its environment, and nothing else.
const program = "PATCHBAY_S3_PROGRAM"

func goProgram() int { return 0 }
