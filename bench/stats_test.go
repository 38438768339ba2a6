package main

import (
	"math"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		xs   []float64
		want float64
	}{
		{[]float64{3}, 3},
		{[]float64{3, 1, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(test.xs); got != test.want {
			t.Errorf("median(%v) = %v, want %v", test.xs, got, test.want)
		}
	}
}

func TestCompareCancelsWhatBothRoundsShare(t *testing.T) {
	// The machine is half as fast in the second round, and the ratio stays.
	got := compare([]float64{200, 100, 200}, []float64{100, 50, 100})
	if math.Abs(got.ratio-2) > 1e-9 || math.Abs(got.low-2) > 1e-9 || math.Abs(got.high-2) > 1e-9 {
		t.Errorf("got %v, want exactly 2", got)
	}
}

func TestCompareInterval(t *testing.T) {
	// Logarithms of the ratios: 0, ln 2, 2 ln 2. Their mean is ln 2, their
	// standard deviation ln 2, and t(2) is 4.303.
	got := compare([]float64{1, 2, 4}, []float64{1, 1, 1})
	half := 4.303 * math.Ln2 / math.Sqrt(3)
	if math.Abs(got.ratio-2) > 1e-9 || math.Abs(math.Log(got.high)-math.Ln2-half) > 1e-9 {
		t.Errorf("got %v, want 2 and a factor of %v to either side", got, math.Exp(half))
	}
}

func TestCount(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567.4: "1,234,567", -1500: "-1,500"} {
		if got := count(x); got != want {
			t.Errorf("count(%v) = %q, want %q", x, got, want)
		}
	}
}
