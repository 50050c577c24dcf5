// Package clienttest drives a running server with Azure's own clients,
// unmodified: the JavaScript SDK, azcore with azidentity, the SDK under
// Terraform's azurerm, and (with the build tag az) the az command line.
//
// What comes of their calls is looked at from outside: the settings file, and
// PostgreSQL's catalogue. It shares no code with the product.
package clienttest
