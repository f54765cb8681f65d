{{/* The sidecar's container. Texts that begin with "=" are expressions over a pod's settings. */}}
{{- define "vestibule-injector.container" -}}
name: vestibule
image: {{ include "vestibule-injector.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
restartPolicy: Always
args: "=variables.args"
ports:
  - {name: "=variables.label == '' ? 'vestibule' : variables.label", containerPort: "=variables.listen", protocol: TCP}
  - {name: vestibule-admin, containerPort: "=variables.admin", protocol: TCP}
# The application starts when this has succeeded: it waits for neither the application nor the Secrets.
startupProbe:
  httpGet: {path: /livez, port: vestibule-admin}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: vestibule-admin}
  periodSeconds: 10
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: vestibule-admin}
  periodSeconds: 5
  failureThreshold: 2
resources:
  requests: {cpu: "=variables.cpuRequest", memory: "=variables.memoryRequest"}
  limits: {memory: "=variables.memoryLimit"}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ int64 .Values.user }}
  runAsGroup: {{ int64 .Values.user }}
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
volumeMounts: "=variables.mounts"
{{- end }}

{{/* Its volumes. What may come later is optional: the sidecar says what it waits for, and the pod is not ready. */}}
{{- define "vestibule-injector.volumes" -}}
vestibule-config:
  name: vestibule-config
  configMap: {name: "=variables.config"}
vestibule-users:
  name: vestibule-users
  secret: {secretName: "=variables.users[0]", optional: "=!variables.mounted"}
vestibule-keys:
  name: vestibule-keys
  secret: {secretName: "=variables.keys", optional: "=!variables.mounted"}
vestibule-tls:
  name: vestibule-tls
  secret: {secretName: "=variables.certificate"}
{{- end }}

{{/* The service account's token, as the API server mounts it by itself. */}}
{{- define "vestibule-injector.token" -}}
name: vestibule-token
projected:
  sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3607}
    - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
    - downwardAPI: {items: [{path: namespace, fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}]}
{{- end }}

{{/* In its place where the sidecar has no rights: nothing is mounted over what is mounted already. */}}
{{- define "vestibule-injector.no-token" -}}
name: vestibule-token
emptyDir: {sizeLimit: 1Mi}
{{- end }}
