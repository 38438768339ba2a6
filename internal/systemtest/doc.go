// Package systemtest holds no code but tests: those of the whole system on
// real Redis servers, with everything on real sockets. They prove that
//
//   - a callee in another language answers calls, with nothing but what
//     docs/redis.md says (examples/node-callee).
package systemtest
