{{/* The application's pod with the sidecar in it. */}}

{{- define "vestibule.podSpec" -}}
serviceAccountName: {{ include "vestibule.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- range $field := list "imagePullSecrets" "nodeSelector" "affinity" "tolerations" "priorityClassName" "runtimeClassName" "schedulerName" "hostAliases" "dnsPolicy" "dnsConfig" }}
{{- with get $.Values $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  {{- $own := dict "matchLabels" (include "vestibule.ownLabels" $ | fromYaml) }}
  - {{- set (deepCopy .) "labelSelector" (default $own .labelSelector) | toYaml | nindent 4 }}
  {{- end }}
{{- end }}
initContainers:
  - {{- include "vestibule.sidecar" (dict "root" . "portName" .Values.application.portName) | nindent 4 }}
  {{- with .Values.application.initContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
containers:
  - {{- include "vestibule.application" . | nindent 4 }}
  {{- range .Values.application.extraContainers }}
  {{- $container := deepCopy . }}
  {{- with include "vestibule.lifecycle" (dict "root" $ "lifecycle" .lifecycle) | fromYaml }}
  {{- $_ := set $container "lifecycle" . }}
  {{- end }}
  - {{- toYaml $container | nindent 4 }}
  {{- end }}
volumes:
  {{- include "vestibule.sidecarVolumes" . | nindent 2 }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "vestibule.application" -}}
{{- with .Values.application -}}
name: application
image: {{ include "vestibule.image" (dict "image" .image "tag" "") | quote }}
imagePullPolicy: {{ .image.pullPolicy }}
ports:
  # Without a name: that one is the sidecar's.
  - containerPort: {{ .port }}
    protocol: TCP
  {{- with .extraPorts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with include "vestibule.lifecycle" (dict "root" $ "lifecycle" .lifecycle) | fromYaml }}
lifecycle:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $field := list "command" "args" "env" "envFrom" "startupProbe" "readinessProbe" "livenessProbe" "resources" "securityContext" "volumeMounts" }}
{{- with get $.Values.application $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Hooks, with the sleep before the end where there is no preStop: (dict "root" $ "lifecycle" MAP). Empty where there are none. */}}
{{- define "vestibule.lifecycle" -}}
{{- $lifecycle := deepCopy (default dict .lifecycle) -}}
{{- $seconds := .root.Values.application.preStopSeconds -}}
{{- /* Older ones do not know this hook. */ -}}
{{- if and $seconds (not $lifecycle.preStop) (semverCompare ">=1.30-0" .root.Capabilities.KubeVersion.Version) -}}
{{- $_ := set $lifecycle "preStop" (dict "sleep" (dict "seconds" $seconds)) -}}
{{- end -}}
{{- with $lifecycle }}{{ toYaml . }}{{ end -}}
{{- end -}}
