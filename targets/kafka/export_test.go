package kafka

// modelRounds is what kfake announces at every sign-in, whatever a credential has; a
// broker announces the credential's own.
const modelRounds = leastIterations

// IterationsOf is what real clusters get.
var IterationsOf = iterationsOf

// ForTheModel gives every login the number that the model announces.
func ForTheModel() { rounds = func(string) int32 { return modelRounds } }
