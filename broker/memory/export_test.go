package memory

// Held returns what the broker holds for calls.
func (b *Broker) Held() (queues, calls int, bytes int64) {
	b.rpc.mu.Lock()
	defer b.rpc.mu.Unlock()
	return len(b.rpc.queues), b.rpc.calls.index.Len(), b.rpc.queued
}

// Topics returns for how many channels and patterns there are subscriptions.
func (b *Broker) Topics() (exact, patterns int) {
	b.topics.mu.Lock()
	defer b.topics.mu.Unlock()
	return len(b.topics.exact), b.topics.patterns.Len()
}

// Kept returns the size of the buffer that is kept of a call with n bytes.
func Kept(n int) int {
	k := &call{payload: make([]byte, n)}
	new(callPool).put(k)
	return cap(k.payload)
}

// RetryAfter is retryAfter.
var RetryAfter = retryAfter
