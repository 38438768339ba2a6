// Package check has a test that the files in deploy are what Docker Compose and
// Kubernetes accept, by their own schemas and types: a key that they do not know
// is an error. It is a module of its own, so that those do not become
// dependencies of juggler.
package check
