// Package shell is what people and scripts type to a juggler server: call,
// sub, pub and the like, over one or several connections. A [Shell] reads
// lines, from a terminal or a pipe; [Do] does one command and writes JSON.
package shell
