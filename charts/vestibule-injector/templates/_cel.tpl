{{/*
A value as an expression: each part in dyn(), as the values of a map or list must be of one type. Texts that begin with
"=" are expressions themselves.
*/}}
{{- define "vestibule-injector.cel" -}}
{{- if kindIs "map" . -}}
dyn({ {{- range $i, $key := keys . | sortAlpha }}{{ if $i }}, {{ end }}'{{ $key }}': {{ include "vestibule-injector.cel" (get $ $key) }}{{ end -}} })
{{- else if kindIs "slice" . -}}
dyn([{{ range $i, $value := . }}{{ if $i }}, {{ end }}{{ include "vestibule-injector.cel" $value }}{{ end }}])
{{- else if kindIs "string" . -}}
dyn({{ if hasPrefix "=" . }}{{ trimPrefix "=" . }}{{ else }}{{ squote . }}{{ end }})
{{- else if kindIs "bool" . -}}
dyn({{ . }})
{{- else -}}
dyn({{ int64 . }})
{{- end -}}
{{- end }}
