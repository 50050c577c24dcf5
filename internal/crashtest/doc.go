// Package crashtest kills the served program at every step and instant of its
// operations, on real servers, and checks from outside what is there after it
// has been started again.
//
// The checker asks PostgreSQL, NATS, Redis, nft and the file system itself and shares
// no code with the product.
package crashtest
