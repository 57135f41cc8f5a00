package dsn

import "strings"

// meanings says in plain words what a status code of RFC 3463 and its registry
// tells, for results without a text. The class is left out.
var meanings = map[string]string{
	"1.0":  "there is a problem with the address",
	"1.1":  "there is no such mailbox",
	"1.2":  "there is no such mail domain",
	"1.3":  "the address is not well formed",
	"1.6":  "the mailbox has moved and left no new address",
	"1.10": "the recipient's domain does not accept mail",
	"2.0":  "there is a problem with the mailbox",
	"2.1":  "the mailbox is disabled and accepts no mail",
	"2.2":  "the mailbox is full",
	"2.3":  "the message is too large for the mailbox",
	"2.4":  "the mailing list could not be expanded",
	"3.0":  "the receiving mail system has a problem",
	"3.1":  "the receiving mail system has no room left",
	"3.2":  "the receiving mail system accepts no mail now",
	"3.4":  "the message is too large for the receiving mail system",
	"4.0":  "there is a problem with the network or with routing",
	"4.1":  "the receiving mail system does not answer",
	"4.2":  "the connection broke",
	"4.3":  "a directory that had to be asked did not answer",
	"4.4":  "nothing says where mail for this domain goes",
	"4.5":  "the receiving mail system is too busy",
	"4.6":  "the message went round in a circle",
	"4.7":  "the time allowed for delivery is over",
	"5.0":  "the two mail systems did not understand each other",
	"6.0":  "the content of the message cannot be handled",
	"7.0":  "delivery was refused for reasons of policy or security",
	"7.1":  "the sender may not send to this recipient",
}

func meaning(status string) string {
	class, detail, _ := strings.Cut(status, ".")
	if text := meanings[detail]; text != "" {
		return text
	}
	subject, _, _ := strings.Cut(detail, ".")
	if text := meanings[subject+".0"]; text != "" {
		return text
	}
	switch class {
	case "2":
		return "delivered"
	case "4":
		return "not delivered yet; no reason was given"
	}
	return "not delivered; no reason was given"
}
