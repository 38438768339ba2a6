package index

// Buckets returns how large the table is.
func (x *Index[T]) Buckets() int { return len(x.buckets) }
