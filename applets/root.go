package applets

import (
	"fmt"

	"github.com/spf13/cobra"

	"zmailer/applets/control"
	"zmailer/applets/queue"
)

// root is the zmailer command with every program below it.
func root() *cobra.Command {
	root := control.Command(parts()...)
	for _, class := range []Class{Control, Queue, Admin, Upkeep, Daemon, User, Agent} {
		root.AddGroup(&cobra.Group{ID: string(class), Title: string(class) + ":"})
	}
	verbs := make(map[string]*cobra.Command)
	group := func(class Class, list ...*cobra.Command) {
		for _, cmd := range list {
			cmd.GroupID = string(class)
			verbs[cmd.Name()] = cmd
		}
	}
	group(Control, root.Commands()...)
	onQueue := queue.Commands()
	group(Queue, onQueue...)
	group(Queue, verbs["resubmit"])
	root.AddCommand(onQueue...)
	for _, row := range Table() {
		if verb := verbs[row.Name]; verb != nil {
			if !row.Hidden { // else the verb has nothing but the name in common
				verb.GroupID = string(row.Class) // which starts the program
			}
			continue
		}
		cmd := row.Command()
		cmd.Short, cmd.GroupID = row.Help, string(row.Class)
		root.AddCommand(cmd)
	}
	root.AddCommand(appletsCommand(), versionCommand())
	root.Version = versionText()
	root.SetVersionTemplate("zmailer {{.Version}}\n")
	root.SetHelpCommandGroupID(string(Upkeep))
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
		GroupID: string(Upkeep),
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
