package wsconn

// A group keeps what connections own only while part of a message has arrived
// or something is queued, so that neither an idle connection nor a message
// costs memory of its own. What is kept is bounded; the rest is garbage.
const (
	keepEach = 256 << 10 // a buffer that grew beyond is not kept
	keepAll  = 16 << 20  // bytes kept by one group: the queues of a fan-out to many thousands
	smallest = 256       // first size of an output's buffer
)

// freelists are the inputs and outputs that a group keeps for reuse.
type freelists struct {
	inputs  []*input
	outputs []*output
	kept    int // bytes
}

func (f *freelists) input() *input {
	if n := len(f.inputs); n > 0 {
		in := f.inputs[n-1]
		f.inputs[n-1] = nil
		f.inputs = f.inputs[:n-1]
		f.kept -= in.size()
		return in
	}
	return new(input)
}

func (f *freelists) putInput(in *input) {
	if cap(in.msg) > keepEach {
		in.msg = nil
	}
	if cap(in.held) > keepEach {
		in.held = nil
	}
	if size := in.size(); f.kept+size <= keepAll {
		in.reset()
		f.kept += size
		f.inputs = append(f.inputs, in)
	}
}

func (f *freelists) output() *output {
	if n := len(f.outputs); n > 0 {
		out := f.outputs[n-1]
		f.outputs[n-1] = nil
		f.outputs = f.outputs[:n-1]
		f.kept -= out.size()
		return out
	}
	return &output{buf: make([]byte, 0, smallest)}
}

func (f *freelists) putOutput(out *output) {
	if size := out.size(); cap(out.buf) <= keepEach && f.kept+size <= keepAll {
		*out = output{buf: out.buf[:0]}
		f.kept += size
		f.outputs = append(f.outputs, out)
	}
}
