// Package checks holds what its tests ask of Go's runtime.
package checks

// deep needs a stack of n frames, which the runtime has to make room for again and again.
func deep(n int) int {
	var room [64]int
	if n == 0 {
		return 0
	}
	room[n%64] = 1
	return deep(n-1) + room[n%64]
}
