// Package systemtest holds no code but tests: those of the whole system on
// real Redis servers, with everything on real sockets. They prove that
//
//   - calls, cancellations and events travel between two nodes, callees and
//     their clients on a standalone server, a Sentinel set and a cluster (with
//     classic and with sharded channels), with one outcome a call;
//   - all who make a call with the same key have made one, and are told the same,
//     while nodes are replaced and nodes, callees and Redis are killed; streams with
//     keys go on without a wrong byte;
//   - the messages captured from juggler.0's first implementation get its
//     answers there too;
//   - a callee in another language answers calls, with nothing but what
//     docs/redis.md says (examples/node-callee);
//   - nothing is lost, doubled, reordered, leaked or left behind by faults that
//     come at random for a while: TestSoak, for a minute or as long as the flag
//     -soak says.
package systemtest
