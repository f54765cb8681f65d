{{/* Values that are right one by one and not together: what is wrong, and the mend. What one value can say alone is in the schema. */}}

{{- define "vestibule.refusals" -}}
{{- $values := .Values -}}
{{- $selector := include "vestibule.selector" . -}}
{{- $secrets := concat (list (include "vestibule.usersSecret" .)) $values.users.extraSecrets (list (include "vestibule.keysSecret" .) (include "vestibule.tlsSecret" .)) -}}
{{- if ne (len $secrets) (len (uniq $secrets)) -}}
{{- fail "users.secret, users.extraSecrets, keys.secret and tls.secret name the same Secret twice: give each one of its own" -}}
{{- end -}}
{{- if and (eq $values.tls.source "secret") (not $values.tls.secret) -}}
{{- fail "tls.secret is empty: with tls.source: secret, name the Secret of type kubernetes.io/tls that holds the certificate" -}}
{{- end -}}
{{- if and (eq $values.tls.source "certManager") (not $values.tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager.issuerRef.name is empty: name the Issuer or ClusterIssuer that signs" -}}
{{- end -}}
{{- if eq $values.store "mounted" -}}
{{- if eq $values.tls.source "managed" -}}
{{- fail "tls.source: managed needs rights at the API server, which store: mounted takes away: set tls.source to secret or certManager" -}}
{{- end -}}
{{- if $values.users.extraSecrets -}}
{{- fail "users.extraSecrets is for store: kubernetes: with store: mounted there is one Secret of users" -}}
{{- end -}}
{{- end -}}
{{- $account := include "vestibule.serviceAccount" . -}}
{{- if not $account -}}
{{- fail "serviceAccount.name is empty: with serviceAccount.create: false, name one that nothing else runs as" -}}
{{- end -}}
{{- if eq $account "default" -}}
{{- fail "serviceAccount.name is default, which every pod has that names none, with all its rights: name one that nothing else runs as" -}}
{{- end -}}
{{- $listen := include "vestibule.port" . -}}
{{- $admin := include "vestibule.adminPort" . -}}
{{- if eq $listen $admin -}}
{{- fail "config.listen and config.admin have the same port: give each one of its own" -}}
{{- end -}}
{{- if $values.application.enabled -}}
{{- $application := $values.application -}}
{{- if not $application.image.repository -}}
{{- fail "application.image.repository is empty: name the application's image" -}}
{{- end -}}
{{- if not (or $application.image.tag $application.image.digest) -}}
{{- fail "application.image.tag is empty: name the tag of the application's image, or its digest" -}}
{{- end -}}
{{- if has (toString (int $application.port)) (list $listen $admin) -}}
{{- fail "application.port is also the port of config.listen or config.admin: move the sidecar to another" -}}
{{- end -}}
{{- range $application.extraPorts -}}
{{- if and (eq (default "TCP" .protocol) "TCP") (has (toString (int .containerPort)) (list $listen $admin)) -}}
{{- fail (printf "application.extraPorts has %d, which is also the port of config.listen or config.admin: move the sidecar to another" (int .containerPort)) -}}
{{- end -}}
{{- if eq (default "" .name) $application.portName -}}
{{- fail (printf "application.extraPorts calls a port %s, as application.portName does: that name is the sidecar's; give it another" .name) -}}
{{- end -}}
{{- end -}}
{{- $shutdown := default dict $values.config.shutdown -}}
{{- $preStop := ternary 0 (int $application.preStopSeconds) (hasKey $application.lifecycle "preStop") -}}
{{- $ending := add (mul $preStop 1000) (include "vestibule.milliseconds" (default "5s" $shutdown.delay)) (include "vestibule.milliseconds" (default "25s" $shutdown.grace)) 3000 -}}
{{- if lt (mul $values.terminationGracePeriodSeconds 1000 | int64) $ending -}}
{{- fail (printf "terminationGracePeriodSeconds is too short: application.preStopSeconds, config.shutdown.delay, config.shutdown.grace and 3 s take %d s" (divf $ending 1000 | ceil | int)) -}}
{{- end -}}
{{- else if $values.autoscaling.enabled -}}
{{- fail "autoscaling.enabled needs application.enabled: without it, the chart has no Deployment" -}}
{{- end -}}
{{- if not $selector -}}
{{- range $object := list "podMonitor" "podDisruptionBudget" -}}
{{- if (get $values $object).enabled -}}
{{- fail (printf "%s.enabled needs application.enabled, or the labels of the pods in selector" $object) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $values.podDisruptionBudget -}}
{{- if and (not (kindIs "invalid" .minAvailable)) (not (kindIs "invalid" .maxUnavailable)) -}}
{{- fail "podDisruptionBudget.minAvailable and podDisruptionBudget.maxUnavailable exclude each other: give one" -}}
{{- end -}}
{{- end -}}
{{- if $values.ingress.enabled -}}
{{- if not (and $values.service.enabled $selector) -}}
{{- fail "ingress.enabled needs the chart's Service: set service.enabled, and application.enabled or selector" -}}
{{- end -}}
{{- if not $values.ingress.hosts -}}
{{- fail "ingress.hosts is empty: name at least one host" -}}
{{- end -}}
{{- end -}}
{{- end -}}
