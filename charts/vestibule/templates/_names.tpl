{{/* Names and labels of all objects. */}}

{{- define "vestibule.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "vestibule.fullname" -}}
{{- $name := include "vestibule.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of pods that the chart makes. They never change: a Deployment's selector cannot. */}}
{{- define "vestibule.ownLabels" -}}
app.kubernetes.io/name: {{ include "vestibule.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Of the pods that have the sidecar, wherever they are made; empty where nothing is known of them. */}}
{{- define "vestibule.selector" -}}
{{- if .Values.application.enabled -}}
{{- include "vestibule.ownLabels" . -}}
{{- else if .Values.selector -}}
{{- toYaml .Values.selector -}}
{{- end -}}
{{- end -}}

{{/* The metadata of an object: (dict "root" $ "name" NAME "namespace" NS "labels" MAP "annotations" MAP "component" TEXT). */}}
{{- define "vestibule.metadata" -}}
{{- $chart := .root.Chart -}}
{{- $standard := dict "app.kubernetes.io/version" $chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service "helm.sh/chart" (printf "%s-%s" $chart.Name $chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- with .component }}{{ $_ := set $standard "app.kubernetes.io/component" . }}{{ end -}}
{{- $labels := merge (dict) (default dict .labels) (include "vestibule.ownLabels" .root | fromYaml) $standard .root.Values.commonLabels -}}
{{- $annotations := merge (dict) (default dict .annotations) .root.Values.commonAnnotations -}}
name: {{ .name | default (include "vestibule.fullname" .root) }}
namespace: {{ .namespace | default .root.Release.Namespace }}
labels:
  {{- toYaml $labels | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "vestibule.usersSecret" -}}
{{- .Values.users.secret | default (printf "%s-users" (include "vestibule.fullname" .)) -}}
{{- end -}}

{{- define "vestibule.keysSecret" -}}
{{- .Values.keys.secret | default (printf "%s-keys" (include "vestibule.fullname" .)) -}}
{{- end -}}

{{- define "vestibule.tlsSecret" -}}
{{- .Values.tls.secret | default (printf "%s-tls" (include "vestibule.fullname" .)) -}}
{{- end -}}

{{- define "vestibule.testSecret" -}}
{{- .Values.test.secret | default (printf "%s-test" (include "vestibule.fullname" .)) -}}
{{- end -}}

{{- define "vestibule.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "vestibule.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "vestibule.rotationAccount" -}}
{{- .Values.rotation.serviceAccount.name | default (printf "%s-rotation" (include "vestibule.fullname" .)) -}}
{{- end -}}

{{- define "vestibule.serviceName" -}}
{{- .Values.service.name | default (include "vestibule.fullname" .) -}}
{{- end -}}

{{/* REPOSITORY:TAG or REPOSITORY@DIGEST: (dict "image" MAP "tag" TEXT). */}}
{{- define "vestibule.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (toString (default .tag .image.tag)) -}}
{{- end -}}
{{- end -}}
