package juggler

// An arena keeps copies of byte slices in blocks, which never grow: growing
// one slice would copy all of it again and again where messages are large.
type arena struct {
	blocks [][]byte // the last one is being filled
	spare  [][]byte // empty, of arenaBlock bytes, to be filled next
	size   int      // bytes in blocks
}

// arenaBlock is the size of a block, unless what it has to hold is larger.
// arenaSpare is how many of them an arena keeps for reuse.
const (
	arenaBlock = 64 << 10
	arenaSpare = 16
)

// keep returns a copy of b, valid until reset.
func (a *arena) keep(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	last := len(a.blocks) - 1
	if last < 0 || cap(a.blocks[last])-len(a.blocks[last]) < len(b) {
		a.blocks = append(a.blocks, a.block(len(b)))
		last++
	}
	from := len(a.blocks[last])
	a.blocks[last] = append(a.blocks[last], b...)
	a.size += len(b)
	return a.blocks[last][from:len(a.blocks[last]):len(a.blocks[last])]
}

// block returns an empty block with room for n bytes.
func (a *arena) block(n int) []byte {
	left := len(a.spare) - 1
	if n > arenaBlock || left < 0 {
		return make([]byte, 0, max(n, arenaBlock))
	}
	b := a.spare[left]
	a.spare = a.spare[:left]
	return b
}

// reset empties a.
func (a *arena) reset() {
	for i, b := range a.blocks {
		if cap(b) == arenaBlock && len(a.spare) < arenaSpare {
			a.spare = append(a.spare, b[:0])
		}
		a.blocks[i] = nil
	}
	a.blocks, a.size = a.blocks[:0], 0
}
