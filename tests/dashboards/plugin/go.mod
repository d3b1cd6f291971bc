module gilscope.invalid/tests/dashboards/plugin

go 1.19

require (
	bitbucket.org/creachadair/shell v0.0.6
	github.com/mediocregopher/radix/v3 v3.8.1
)

require golang.org/x/xerrors v0.0.0-20191011141410-1b5146add898 // indirect
