//go:build tools

// Package tools names the command that `cargo xtask test conformance` builds.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
