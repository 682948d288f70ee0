// The interface by somebody else's library: Debian's golang-github-varlink-go-dev parses its text and calls its methods.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/varlink/go/varlink"
	"github.com/varlink/go/varlink/idl"
)

func fail(format string, words ...interface{}) {
	fmt.Fprintf(os.Stderr, "varlink: "+format+"\n", words...)
	os.Exit(1)
}

func check(what string, err error) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

type job struct {
	Job        string   `json:"job"`
	Supervisor int      `json:"supervisor"`
	Command    []string `json:"command"`
}

func main() {
	if len(os.Args) != 3 {
		fail("usage: main SOCKET JOB")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := varlink.NewConnection(ctx, "unix:"+os.Args[1])
	check("connect", err)
	defer c.Close()

	var vendor, product, version, url string
	var interfaces []string
	check("GetInfo", c.GetInfo(ctx, &vendor, &product, &version, &url, &interfaces))
	if product != "sallyport" || len(interfaces) != 2 {
		fail("GetInfo: %s %v", product, interfaces)
	}
	text, err := c.GetInterfaceDescription(ctx, "io.sallyport")
	check("GetInterfaceDescription", err)
	described, err := idl.New(text)
	check("the interface's text", err)
	fmt.Printf("%s %s: %d methods, %d types, %d errors\n", product, version, len(described.Methods),
		len(described.Aliases), len(described.Errors))

	var list struct {
		Jobs []job `json:"jobs"`
	}
	check("List", c.Call(ctx, "io.sallyport.List", nil, &list))
	if len(list.Jobs) != 1 || list.Jobs[0].Job != os.Args[2] {
		fail("List: %v", list.Jobs)
	}
	name := map[string]string{"job": os.Args[2]}
	var tree struct {
		Processes []struct {
			Pid     int    `json:"pid"`
			Program string `json:"program"`
		} `json:"processes"`
	}
	check("Tree", c.Call(ctx, "io.sallyport.Tree", name, &tree))
	if len(tree.Processes) == 0 || tree.Processes[0].Program == "" {
		fail("Tree: %v", tree)
	}
	err = c.Call(ctx, "io.sallyport.Inspect", map[string]string{"job": "0000000000000000"}, nil)
	if e, ok := err.(*varlink.Error); !ok || e.Name != "io.sallyport.NoSuchJob" {
		fail("an unknown job: %v", err)
	}
	var frozen struct {
		Running int `json:"running"`
	}
	frozen.Running = -1
	check("Freeze", c.Call(ctx, "io.sallyport.Freeze", name, &frozen))
	check("Thaw", c.Call(ctx, "io.sallyport.Thaw", name, nil))
	if frozen.Running != 0 {
		fail("Freeze: %d threads run", frozen.Running)
	}
	check("Kill", c.Call(ctx, "io.sallyport.Kill", name, nil))
	fmt.Println("List, Tree, Inspect, Freeze, Thaw, Kill: as they should")
}
