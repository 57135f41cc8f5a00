package runner

import "strings"

// special are the characters that mean something to a shell.
const special = "$`\"'\\*?[]<>|&;(){}~#!^\n\r"

// Argv turns the text of a "|program" address into words. A text that begins with
// an absolute path and holds nothing special is split at its blanks and run as it
// is; anything else is for /bin/sh. The text is the administrator's or the user's
// own; nothing of a message is ever put into it.
func Argv(text string) []string {
	words := strings.Fields(text)
	if len(words) == 0 || words[0][0] != '/' || strings.ContainsAny(text, special) {
		return []string{"/bin/sh", "-c", text}
	}
	return words
}
