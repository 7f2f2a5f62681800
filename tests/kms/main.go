// local-kms for tests: ADDRESS DIRECTORY, or nothing to be told its version.
package main

import (
	"fmt"
	"net/http"
	"os"
	"runtime/debug"

	kms "github.com/nsmithuk/local-kms/src"
	"github.com/nsmithuk/local-kms/src/config"
	"github.com/nsmithuk/local-kms/src/data"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Println("local-kms", version())
		return
	}
	config.AWSAccountId, config.AWSRegion = "111122223333", "eu-west-1"
	config.DatabasePath = os.Args[2]
	database := data.NewDatabase(config.DatabasePath)
	answer := func(w http.ResponseWriter, r *http.Request) { kms.HandleRequest(w, r, database) }
	// Its own Run would listen on every interface.
	err := http.ListenAndServe(os.Args[1], http.HandlerFunc(answer))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/nsmithuk/local-kms" {
			return module.Version[1:]
		}
	}
	return "of an unknown version"
}
