// Package shell evaluates configuration written in plain POSIX/bash shell,
// inside the process, with commands written in Go.
//
// The parser is mvdan.cc/sh/v3/syntax. Its tree is compiled once, by [Load],
// into nodes with resolved names, folded literals and prepared patterns; no
// text is looked at again while messages flow. The promise to the policy
// author is that a script which both this package and bash accept does the
// same in both; shellcfg/LANGUAGE.md lists the deliberate differences. The
// promise to the host program is:
//
//   - Values are data. Nothing that came out of a variable, a table or a
//     message is ever parsed as script, except by an explicit eval, which
//     [Options.NoEval] forbids. There is no pathname expansion, and arithmetic
//     never evaluates the text of a variable as an expression.
//   - Everything is bounded: commands, nesting, bytes captured, size of a
//     variable, time. What exceeds a bound, or is broken (unknown command,
//     unset variable under set -u, write to a readonly), ends the evaluation
//     with an [*Error] that names file, line and the functions around it. The
//     caller defers the message; a failure is never mistaken for an answer.
//   - What the language does not have is refused by Load with the position
//     and a remedy; it never silently does something else.
//
// # State
//
// A [Program] is one loaded version of the configuration and never changes.
// A [Session] is one evaluation on top of it: assignments made there are
// recorded in a journal and undone by Close, so sessions are cheap, pooled and
// cannot see each other. Any number of sessions run at the same time.
//
// Variables are slots in one array ("shallow binding"): local saves the old
// value on a stack and the return of the function puts it back, which is
// exactly the dynamic scope of shell and costs an index for every access.
// $(...) and (...) do not copy anything either: they open an epoch, the first
// write to a slot in an epoch is journalled, and the end of the subshell rolls
// the journal back.
package shell
