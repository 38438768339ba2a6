package main

import (
	"math"
	"slices"
)

// median returns the middle of xs, or NaN of nothing.
func median(xs []float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(xs))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// spread returns how far the values lie apart: half the range between the
// least and the greatest, relative to the median.
func spread(xs []float64) float64 {
	m := median(xs)
	if m == 0 {
		return 0
	}
	return (slices.Max(xs) - slices.Min(xs)) / 2 / m
}

// An interval is a ratio with its 95 % confidence interval.
type interval struct{ ratio, low, high float64 }

// compare returns the ratio of a to b. a[i] and b[i] are of the same round,
// so what the machine did to both cancels out. The interval is Student's, on
// the logarithms of the rounds' ratios.
func compare(a, b []float64) interval {
	logs := make([]float64, 0, len(a))
	for i := range min(len(a), len(b)) {
		if a[i] > 0 && b[i] > 0 {
			logs = append(logs, math.Log(a[i]/b[i]))
		}
	}
	n := float64(len(logs))
	if n == 0 {
		return interval{math.NaN(), math.NaN(), math.NaN()}
	}
	var mean, squares float64
	for _, x := range logs {
		mean += x / n
	}
	for _, x := range logs {
		squares += (x - mean) * (x - mean)
	}
	if n == 1 {
		return interval{math.Exp(mean), 0, math.Inf(1)}
	}
	half := studentT(len(logs)-1) * math.Sqrt(squares/(n-1)/n)
	return interval{math.Exp(mean), math.Exp(mean - half), math.Exp(mean + half)}
}

// studentT returns the 97.5 % quantile of Student's t distribution.
func studentT(degrees int) float64 {
	table := []float64{
		12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
		2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
	}
	if degrees <= len(table) {
		return table[degrees-1]
	}
	return 1.96
}
