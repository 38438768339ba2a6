package load

// A publisher's events at one subscriber, by their numbers from 1.
type peer struct {
	last       uint64 // the greatest number that came
	received   uint64 // different ones
	missing    map[uint64]struct{}
	duplicates uint64
	disorder   uint64 // came after a greater number
}

// arrive takes note of event n.
func (p *peer) arrive(n uint64) {
	switch {
	case n > p.last:
		for m := p.last + 1; m < n && len(p.missing) < maxMissing; m++ {
			if p.missing == nil {
				p.missing = make(map[uint64]struct{})
			}
			p.missing[m] = struct{}{}
		}
		p.last = n
		p.received++
	default:
		if _, ok := p.missing[n]; ok {
			delete(p.missing, n)
			p.disorder++
			p.received++
		} else {
			p.duplicates++
		}
	}
}

// maxMissing bounds what is remembered of gaps.
const maxMissing = 1 << 16
