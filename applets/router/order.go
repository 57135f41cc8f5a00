package router

import (
	"slices"

	"zmailer/spool"
)

// sortIDs puts the oldest message first: ids sort by time.
func sortIDs(ids []spool.ID) { slices.Sort(ids) }
