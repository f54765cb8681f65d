{{/* The sidecar's container and its volumes: all ways to install it make the same ones. */}}

{{/* The container, native (an init container that goes on): (dict "root" $ "portName" NAME). */}}
{{- define "vestibule.sidecar" -}}
{{- $ := .root -}}
{{- $sidecar := $.Values.sidecar -}}
name: vestibule
image: {{ include "vestibule.image" (dict "image" $.Values.image "tag" $.Chart.AppVersion) | quote }}
imagePullPolicy: {{ $.Values.image.pullPolicy }}
restartPolicy: Always
args: [serve, "--config={{ include "vestibule.configFile" $ }}"]
{{- with $sidecar.env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: {{ .portName }}
    containerPort: {{ include "vestibule.port" $ }}
    protocol: TCP
  - name: vestibule-admin
    containerPort: {{ include "vestibule.adminPort" $ }}
    protocol: TCP
{{- range $probe := list "startupProbe" "readinessProbe" "livenessProbe" }}
{{- with get $sidecar $probe }}
{{ $probe }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
resources:
  {{- toYaml $sidecar.resources | nindent 2 }}
securityContext:
  {{- toYaml $sidecar.securityContext | nindent 2 }}
volumeMounts:
  {{- include "vestibule.sidecarMounts" $ | nindent 2 }}
  {{- with $sidecar.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "vestibule.sidecarMounts" -}}
- {name: vestibule-config, mountPath: /etc/vestibule/config, readOnly: true}
{{- if include "vestibule.mountsStore" . }}
- {name: vestibule-users, mountPath: /etc/vestibule/users, readOnly: true}
- {name: vestibule-keys, mountPath: /etc/vestibule/keys, readOnly: true}
{{- end }}
{{- if ne .Values.tls.source "managed" }}
- {name: vestibule-tls, mountPath: /etc/vestibule/tls, readOnly: true}
{{- end }}
{{- if include "vestibule.asksCluster" . }}
- {name: vestibule-token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}
{{- end -}}

{{/* The volumes that only the sidecar mounts. */}}
{{- define "vestibule.sidecarVolumes" -}}
- name: vestibule-config
  configMap: {name: {{ include "vestibule.fullname" . }}}
{{- if include "vestibule.mountsStore" . }}
{{- /* As a fallback they are not waited for: then the sidecar says which Secret it waits for. */}}
- name: vestibule-users
  secret: {secretName: {{ include "vestibule.usersSecret" . }}, optional: {{ eq .Values.store "kubernetes" }}}
- name: vestibule-keys
  secret: {secretName: {{ include "vestibule.keysSecret" . }}, optional: {{ eq .Values.store "kubernetes" }}}
{{- end }}
{{- if ne .Values.tls.source "managed" }}
- name: vestibule-tls
  secret: {secretName: {{ include "vestibule.tlsSecret" . }}}
{{- end }}
{{- if include "vestibule.asksCluster" . }}
{{ include "vestibule.tokenVolume" . }}
{{- end }}
{{- end -}}

{{/* The service account's token, for the one container that mounts it. */}}
{{- define "vestibule.tokenVolume" -}}
- name: vestibule-token
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3607}
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
      - downwardAPI:
          items: [{path: namespace, fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}]
{{- end -}}

{{/* Changes with what a running sidecar does not take over by itself: all but `access` and `throttle`. */}}
{{- define "vestibule.configChecksum" -}}
{{- omit (include "vestibule.config" . | fromYaml) "access" "throttle" | toYaml | sha256sum -}}
{{- end -}}
