{{/* What stands in the pod, and what is wrong with it. Variables of all policies, after the settings. */}}
{{- define "vestibule-injector.pod" -}}
- name: volumes
  expression: object.spec.?volumes.orValue([])
- name: regular
  expression: size(object.spec.containers)
# Containers, then init containers: paths[i] is where containers[i] stands.
- name: containers
  expression: object.spec.containers + object.spec.?initContainers.orValue([])
- name: paths
  expression: |-
    variables.containers.transformList(i, c,
      i < variables.regular ? '/spec/containers/' + string(i) : '/spec/initContainers/' + string(i - variables.regular))
- name: theirs
  expression: variables.containers.filter(c, c.name != 'vestibule')
- name: sidecars
  expression: |-
    object.spec.?initContainers.orValue([]).filter(c, c.name == 'vestibule' && c.?restartPolicy.orValue('') == 'Always'
      && !has(c.command) && c.?args.orValue([]).exists(a, a == 'serve') && c.args[0] == 'serve'
      && (c.image == '{{ .Values.image.repository }}' || c.image.startsWith('{{ .Values.image.repository }}:') || c.image.startsWith('{{ .Values.image.repository }}@')))
- name: protected
  expression: size(variables.sidecars) == 1 && variables.containers.exists_one(c, c.name == 'vestibule')
# The token that the API server mounts into each container by itself.
- name: automatic
  expression: variables.volumes.filter(v, v.name.startsWith('kube-api-access-')).map(v, v.name)
# Other volumes with a token that the API server accepts.
- name: tokens
  expression: |-
    variables.volumes.filter(v, !v.name.startsWith('kube-api-access-') && v.name != 'vestibule-token'
      && v.?projected.?sources.orValue([]).exists(s, has(s.serviceAccountToken)
        && (s.serviceAccountToken.?audience.orValue('') == '' || s.serviceAccountToken.?audience.orValue('').contains('kubernetes.default')))).map(v, v.name)
- name: secrets
  expression: variables.users + [variables.keys]
# What it cannot protect, before and after.
- name: obstacles
  expression: |-
    [
      object.spec.?hostNetwork.orValue(false) ? 'the pod is in the host\'s network, where anyone reaches the application past the sidecar: set hostNetwork to false' : '',
      object.spec.?hostPID.orValue(false) || object.spec.?shareProcessNamespace.orValue(false)
        ? 'the application sees the sidecar\'s process, and through it the keys: leave out hostPID and shareProcessNamespace' : '',
      object.spec.?os.?name.orValue('linux') != 'linux' ? 'the pod is not for Linux, and the sidecar is: leave vestibule.dev/inject out' : '',
      variables.store == 'kubernetes' && variables.account in ['', 'default'] && object.spec.?serviceAccountName.orValue('default') == 'default'
        ? 'the pod runs as the service account default, which others share: name one that may read the Secrets in serviceAccountName or vestibule.dev/service-account, or set vestibule.dev/store to "mounted"' : '',
      variables.store == 'kubernetes' && size(variables.tokens) > 0
        ? 'volume ' + variables.tokens[0] + ' gives the application a token of the pod\'s service account, which may read users and keys: leave the volume out, give it an audience of its own, or set vestibule.dev/store to "mounted"' : '',
      variables.volumes.exists(v, !(v.name in ['vestibule-users', 'vestibule-keys']) && (v.?secret.?secretName.orValue('') in variables.secrets
          || v.?projected.?sources.orValue([]).exists(s, s.?secret.?name.orValue('') in variables.secrets)))
        || variables.theirs.exists(c, c.?env.orValue([]).exists(e, has(e.valueFrom) && e.valueFrom.?secretKeyRef.?name.orValue('') in variables.secrets)
          || c.?envFrom.orValue([]).exists(e, e.?secretRef.?name.orValue('') in variables.secrets))
        ? 'a volume or a variable of the application holds the Secret of the users or the keys, which are the sidecar\'s alone: take it away' : '',
      variables.theirs.exists(c, c.?ports.orValue([]).exists(p, p.?protocol.orValue('TCP') == 'TCP' && p.containerPort in [variables.listen, variables.admin]))
        ? 'a container has port ' + string(variables.listen) + ' or ' + string(variables.admin) + ', on which the sidecar listens: move the sidecar with vestibule.dev/listen-port and vestibule.dev/admin-port' : '',
      variables.theirs.exists(c, c.?ports.orValue([]).exists(p, p.?name.orValue('') in ['vestibule', 'vestibule-admin']))
        ? 'a port of the application is called vestibule or vestibule-admin, as the sidecar\'s are: rename it' : '',
      variables.containers.exists(c, c.name == 'vestibule') && !variables.protected
        ? 'a container is called vestibule already and is not the sidecar: rename it' : ''
    ].filter(m, m != '')
# Before: [container, port] of each port that may be meant.
- name: found
  expression: |-
    variables.containers.transformList(i, c, i < variables.regular || c.?restartPolicy.orValue('') == 'Always',
      c.?ports.orValue([]).transformList(j, p, p.?protocol.orValue('TCP') == 'TCP'
        && (variables.byNumber ? p.containerPort == variables.number : p.?name.orValue('') == variables.port), [i, j])).flatten()
- name: owner
  expression: "size(variables.found) == 1 ? variables.found[0][0] : -1"
- name: application
  expression: variables.containers[variables.owner]
- name: moved
  expression: variables.application.ports[variables.found[0][1]]
# What Services call the port; empty where it has no name.
- name: label
  expression: "variables.owner < 0 ? '' : variables.moved.?name.orValue('')"
- name: upstream
  expression: "variables.owner < 0 ? variables.number : variables.moved.containerPort"
- name: hurdles
  expression: |-
    [
      size(variables.found) == 0 && !variables.byNumber
        ? (variables.containers.exists(c, c.?ports.orValue([]).exists(p, p.?name.orValue('') == variables.port))
          ? 'port ' + variables.port + ' is not TCP, or of an init container that ends: name another with vestibule.dev/port'
          : 'no container has a port called ' + variables.port + ': name the one that Services target with vestibule.dev/port, or give its number') : '',
      size(variables.found) > 1 ? 'more than one port is meant by vestibule.dev/port: "' + variables.port + '": give the application\'s another name' : '',
      variables.upstream in [variables.listen, variables.admin]
        ? 'the application listens on port ' + string(variables.upstream) + ', as the sidecar would: move the sidecar with vestibule.dev/listen-port or vestibule.dev/admin-port' : '',
      variables.containers.transformList(i, c, c.?ports.orValue([]).transformList(j, p, p.?hostPort.orValue(0) != 0
          && p.?protocol.orValue('TCP') == 'TCP' && p.containerPort == variables.upstream && !([i, j] in variables.found), j)).flatten().size() > 0
        ? 'another port of the pod has a hostPort that leads to the application past the sidecar: leave it out' : '',
      variables.account != '' && !(object.spec.?serviceAccountName.orValue('default') in ['default', variables.account])
        ? 'the pod names a service account and vestibule.dev/service-account another: leave one of them out' : '',
      variables.volumes.exists(v, v.name in ['vestibule-token', 'vestibule-users', 'vestibule-keys', 'vestibule-tls', 'vestibule-config'])
        ? 'a volume is called as one of the sidecar\'s: rename it' : ''
    ].filter(m, m != '')
# After: what something else has changed since.
- name: remains
  expression: |-
    [
      variables.store == 'kubernetes' && variables.theirs.exists(c, c.?volumeMounts.orValue([]).exists(m, m.name in variables.automatic))
        ? 'a container mounts the token of the pod\'s service account beside the sidecar: set automountServiceAccountToken to false' : '',
      variables.theirs.exists(c, c.?volumeMounts.orValue([]).exists(m, m.name in ['vestibule-token', 'vestibule-users', 'vestibule-keys', 'vestibule-tls']))
        ? 'a container mounts a volume of the sidecar: take the mount away' : '',
      variables.containers.exists(i, c, c.name != 'vestibule' && (i < variables.regular || c.?restartPolicy.orValue('') == 'Always')
          && c.?ports.orValue([]).exists(p, has(p.name) && variables.sidecars.exists(s, s.?ports.orValue([]).exists(o, o.?name.orValue('') == p.name))))
        ? 'a container has a port that is called as one of the sidecar\'s: rename it' : '',
      variables.account != '' && object.spec.?serviceAccountName.orValue('default') != variables.account
        ? 'the pod has the sidecar and another service account than vestibule.dev/service-account: set serviceAccountName to it' : ''
    ].filter(m, m != '')
# Why the pod is refused; empty where it is not. What comes first keeps what follows from being looked at.
- name: reasons
  expression: |-
    variables.mistakes + (!variables.asked || size(variables.mistakes) > 0 ? [] :
      variables.misfits + variables.shares + (size(variables.misfits) > 0 ? [] :
        variables.obstacles + (variables.protected ? variables.remains : variables.hurdles)))
{{- end }}
