{{/* The sidecar's configuration, and what the chart takes from it. */}}

{{/* Where things are in the sidecar's container: the product's own defaults, and a folder for the configuration. */}}
{{- define "vestibule.configFile" -}}/etc/vestibule/config/vestibule.yaml{{- end -}}

{{/* `config`, and what the other values say of users, keys and the certificate. */}}
{{- define "vestibule.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if not $config.upstream -}}
{{- $_ := set $config "upstream" (printf "http://127.0.0.1:%d" (int .Values.application.port)) -}}
{{- end -}}
{{- $directories := dict "users" "/etc/vestibule/users" "keys" "/etc/vestibule/keys" -}}
{{- if eq .Values.store "mounted" -}}
{{- $_ := set $config "store" (dict "directory" $directories) -}}
{{- else -}}
{{- $users := include "vestibule.usersSecret" . -}}
{{- with .Values.users.extraSecrets }}{{ $users = prepend . $users }}{{ end -}}
{{- $store := dict "users" $users "keys" (include "vestibule.keysSecret" .) -}}
{{- if include "vestibule.mountsStore" . }}{{ $_ := set $store "fallback" $directories }}{{ end -}}
{{- $_ := set $config "store" (dict "kubernetes" $store) -}}
{{- end -}}
{{- $tls := default dict $config.tls -}}
{{- if eq .Values.tls.source "managed" -}}
{{- $_ := set $tls "managed" (dict "secret" (include "vestibule.tlsSecret" .) "hosts" (include "vestibule.hosts" . | fromYamlArray)) -}}
{{- else -}}
{{- $_ := set $tls "certificate" "/etc/vestibule/tls/tls.crt" -}}
{{- $_ := set $tls "key" "/etc/vestibule/tls/tls.key" -}}
{{- end -}}
{{- $_ := set $config "tls" $tls -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Not empty where both Secrets are mounted into the sidecar. A fallback is one directory: not for several Secrets of users. */}}
{{- define "vestibule.mountsStore" -}}
{{- if or (eq .Values.store "mounted") (and .Values.fallback (not .Values.users.extraSecrets)) }}yes{{ end -}}
{{- end -}}

{{/* Not empty where the sidecar asks the API server. */}}
{{- define "vestibule.asksCluster" -}}
{{- if eq .Values.store "kubernetes" }}yes{{ end -}}
{{- end -}}

{{/* The names of the certificate, as a YAML list. */}}
{{- define "vestibule.hosts" -}}
{{- $hosts := list -}}
{{- if or (include "vestibule.selector" .) (not .Values.tls.hosts) -}}
{{- $name := include "vestibule.serviceName" . -}}
{{- $hosts = list (printf "%s.%s.svc" $name .Release.Namespace) (printf "%s.%s.svc.cluster.local" $name .Release.Namespace) (printf "%s.%s" $name .Release.Namespace) $name -}}
{{- end -}}
{{- toYaml (concat $hosts .Values.tls.hosts | uniq) -}}
{{- end -}}

{{/* The names that the certificate must have: of one that was given, nothing is known but what `tls.hosts` says. */}}
{{- define "vestibule.expectedHosts" -}}
{{- if eq .Values.tls.source "secret" -}}
{{- toYaml .Values.tls.hosts -}}
{{- else -}}
{{- include "vestibule.hosts" . -}}
{{- end -}}
{{- end -}}

{{- define "vestibule.port" -}}
{{- regexFind "[0-9]+$" (default "0.0.0.0:10443" .Values.config.listen) -}}
{{- end -}}

{{- define "vestibule.adminPort" -}}
{{- regexFind "[0-9]+$" (default "0.0.0.0:10444" .Values.config.admin) -}}
{{- end -}}

{{/* Of a length of time such as 1h30m: its milliseconds. */}}
{{- define "vestibule.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h|d)" . -1 -}}
{{- $sum = add $sum (mul (regexFind "[0-9]+" . | int64) (get $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{/* A login path of one kind: the first that is switched on, `densify` or `redis`; empty where there is none. */}}
{{- define "vestibule.loginPath" -}}
{{- $authorize := default dict .Values.config.authorize -}}
{{- $paths := default dict $authorize.paths -}}
{{- $path := "" -}}
{{- range $kind, $default := dict "densify" "/authorize" "redis" "/v1/users/authorize" -}}
{{- if not $path -}}
{{- $given := ternary (get $paths $kind) $default (hasKey $paths $kind) -}}
{{- if kindIs "slice" $given }}{{ $given = first $given }}{{ end -}}
{{- $path = default "" $given -}}
{{- end -}}
{{- end -}}
{{- $path -}}
{{- end -}}
