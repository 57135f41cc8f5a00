package applets

import (
	"fmt"

	"github.com/spf13/cobra"

	"zmailer/applets/control"
	"zmailer/applets/queue"
)

// root is the zmailer command with every program below it.
func root() *cobra.Command {
	root := control.Command()
	for _, class := range []Class{Admin, Daemon, User, Agent} {
		root.AddGroup(&cobra.Group{ID: string(class), Title: string(class) + ":"})
	}
	root.AddCommand(queue.Commands()...)
	for _, cmd := range root.Commands() {
		cmd.GroupID = string(Admin)
	}
	verbs := make(map[string]*cobra.Command)
	for _, cmd := range root.Commands() {
		verbs[cmd.Name()] = cmd
	}
	for _, row := range Table() {
		if verb := verbs[row.Name]; verb != nil {
			verb.GroupID = string(row.Class) // which starts the program
			continue
		}
		cmd := row.Command()
		cmd.Short, cmd.GroupID = row.Help, string(row.Class)
		root.AddCommand(cmd)
	}
	root.AddCommand(appletsCommand(), versionCommand())
	root.Version = versionText()
	root.SetVersionTemplate("zmailer {{.Version}}\n")
	root.SetHelpCommandGroupID(string(Admin))
	root.CompletionOptions.DisableDefaultCmd = true // there is our own
	root.AddCommand(completionCommand())
	complete(root)
	return root
}

// appletsCommand prints the table for the installer.
func appletsCommand() *cobra.Command {
	var links bool
	cmd := &cobra.Command{
		Use:     "applets",
		Short:   "List the programs this binary acts as",
		GroupID: string(Admin),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, row := range Table() {
				if !links {
					fmt.Fprintf(cmd.OutOrStdout(), "%-12s %-38s %s\n", row.Name, row.Class, row.Help)
				}
				for _, path := range row.Links {
					if links {
						fmt.Fprintln(cmd.OutOrStdout(), path)
					}
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&links, "links", false, "print the links that an installation has, below its prefix")
	return cmd
}
