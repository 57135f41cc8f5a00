// ZMailer is a mail transfer agent for UNIX hosts: one binary that acts as every
// program of the mailer by the name it is called with.
package main

import (
	"os"

	"zmailer/applets"
)

func main() { os.Exit(applets.Main(os.Args)) }
