package load

// A protocol is the client's side of one wire protocol, for the one payload
// of a run.
type protocol interface {
	// open makes a connected socket ready for requests. It may block.
	open(c *conn) error

	// subscribe makes an open connection a subscriber of channel. It may block.
	subscribe(c *conn, channel string) error

	// request is what c sends and gets an answer of the kind done for.
	request(c *conn) template

	// publication is what subscribers of channel get as an event.
	publication(channel string) template

	// parse takes the whole messages off b, appends what they answer, and
	// returns how many bytes it took. What the server asks for (a pong) is
	// appended to c.out.
	parse(c *conn, b []byte, answers []answer) (n int, out []answer, err error)

	// promises says what the order of answers is checked against.
	promises() promises
}

// promises are what a protocol's answers to requests keep to.
type promises struct {
	order    bool // answers come in the order of the requests
	accepted bool // each outcome comes after an acknowledgement
}

// An answer is what a message from the server meant.
type answer struct {
	kind answerKind
	id   uint32
	size int // with a mixed load: of the result's payload
}

type answerKind uint8

const (
	done     answerKind = iota // the request has its outcome
	accepted                   // the request was acknowledged, its outcome follows
	event                      // a publication arrived
	ready                      // an answer to what open or subscribe sent
)

// Ids are nine decimal digits wherever they are text, so that messages of a
// run differ in these digits only: 1, two digits for the slot, and six for
// the request's number in it.
const (
	idBase   = 100_000_000
	idSlot   = 1_000_000
	idDigits = 9
	maxSlots = 100
)

func makeID(slot int, number uint32) uint32 {
	return idBase + uint32(slot)*idSlot + number%idSlot
}

func splitID(id uint32) (slot int, number uint32, ok bool) {
	if id < idBase || id >= idBase+maxSlots*idSlot {
		return 0, 0, false
	}
	id -= idBase
	return int(id / idSlot), id % idSlot, true
}

// parseID reads the nine digits at the beginning of b.
func parseID(b []byte) (id uint32, ok bool) {
	if len(b) < idDigits {
		return 0, false
	}
	for _, digit := range b[:idDigits] {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		id = id*10 + uint32(digit-'0')
	}
	return id, true
}
