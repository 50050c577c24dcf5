module patchbay.dev/patchbay

go 1.26
