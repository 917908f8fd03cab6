# Discobot's image: process 1, the caching proxy, the agent API and a Docker engine on a slim Debian with Node.
#
#   docker build -t discobot .
#   docker run --privileged --stop-timeout 40 -v discobot-data:/.data discobot
#
# BASE: a Debian 12 with Node 20.18.1 or newer and npm.
ARG BASE=node:24-bookworm-slim

FROM ${BASE} AS build
WORKDIR /src
# By themselves, so that a change of the sources does not install everything again.
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run bundle

FROM ${BASE}
# docker.io brings the group "docker"; iproute2, rootlesskit, slirp4netns and uidmap are for an engine without root's
# rights; openssh-client is for workspaces cloned over ssh.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
      ca-certificates curl docker.io fuse-overlayfs git git-lfs iproute2 iptables nftables openssh-client procps \
      rootlesskit slirp4netns uidmap util-linux \
 && rm -rf /var/lib/apt/lists/*
# Node's own images give the number 1000 to an account "node".
RUN if id node >/dev/null 2>&1; then userdel --remove node; fi \
 && useradd --create-home --uid 1000 --user-group --groups docker --shell /bin/bash discobot \
 && for service in discobot-proxy discobot-docker; do \
      useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$service"; \
    done
# The ids of the rootless engine's containers: further ones, and 1000, which is the same inside. As the agent writes them.
RUN for file in /etc/subuid /etc/subgid; do \
      printf 'discobot-docker:%s\n' 165536:999 1000:1 166536:64536 >>"$file"; \
    done
COPY --from=build /src/dist/bundle /opt/discobot/lib
# Links, because each finds its code beside the file that Node finds in the end.
RUN mkdir /opt/discobot/bin \
 && for program in agent proxy agent-api; do ln -s "../lib/$program.cjs" "/opt/discobot/bin/$program"; done \
 && ln -s /opt/discobot/bin/agent /usr/local/bin/discobot-agent \
 && ln -s /opt/discobot/bin/proxy /usr/local/bin/discobot-proxy
VOLUME /.data
# `docker stop` waits 10 s by itself; the services inside have up to 35 to end in order. Give it 40 (docker run
# --stop-timeout 40), or say how long it waits: with DISCOBOT_CONTAINER_STOP_TIMEOUT=10s each gets its part of that.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 CMD ["/opt/discobot/bin/agent", "healthcheck"]
ENTRYPOINT ["/opt/discobot/bin/agent"]
