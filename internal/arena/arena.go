// Package arena keeps copies of byte slices together, to be dropped together.
package arena

// An Arena copies byte slices into blocks, which never grow: growing one slice
// would copy all of it again and again where messages are large. The zero Arena is
// empty. One goroutine at a time may use it.
type Arena struct {
	blocks [][]byte // the last one is being filled
	spare  [][]byte // empty, of blockSize bytes, to be filled next
	size   int      // bytes in blocks
}

// blockSize is the size of a block, unless what it has to hold is larger.
// maxSpare is how many of them an Arena keeps for reuse.
const (
	blockSize = 64 << 10
	maxSpare  = 16
)

// Copy returns a copy of b, valid until Reset: nil if b is empty.
func (a *Arena) Copy(b []byte) []byte {
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
func (a *Arena) block(n int) []byte {
	left := len(a.spare) - 1
	if n > blockSize || left < 0 {
		return make([]byte, 0, max(n, blockSize))
	}
	b := a.spare[left]
	a.spare = a.spare[:left]
	return b
}

// Size returns how many bytes were copied since the last Reset.
func (a *Arena) Size() int { return a.size }

// Reset drops all copies.
func (a *Arena) Reset() {
	for i, b := range a.blocks {
		if cap(b) == blockSize && len(a.spare) < maxSpare {
			a.spare = append(a.spare, b[:0])
		}
		a.blocks[i] = nil
	}
	a.blocks, a.size = a.blocks[:0], 0
}
