package shell

import (
	"iter"
	"slices"
)

// Nearest returns the name that somebody who wrote word may have meant, "" if none is
// close.
func Nearest(word string, names iter.Seq[string]) string {
	best, bound := "", 1
	if len(word) > 4 {
		bound = 2
	}
	if len(word) > maxNearest {
		return ""
	}
	for _, name := range slices.Sorted(names) { // the same answer every time
		if d := max(len(name)-len(word), len(word)-len(name)); d > bound || len(name) < 3 {
			continue
		}
		if d := distance(word, name); d > 0 && d <= bound {
			best, bound = name, d-1
		}
	}
	return best
}

// maxNearest bounds the words that are compared: real names are shorter.
const maxNearest = 40

// distance is how many letters have to be put in, left out, changed, or swapped with
// their neighbour.
func distance(a, b string) int {
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(prev[j+1]+1, row[j]+1, prev[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}

// meant is for the end of a message about a name that does not exist.
func meant(word string, names iter.Seq[string]) string {
	if name := Nearest(word, names); name != "" {
		return " (did you mean " + name + "?)"
	}
	return ""
}
