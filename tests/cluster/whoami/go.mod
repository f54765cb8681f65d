module whoami

go 1.21
