import { runConformanceTests } from "@durable-streams/server-conformance-tests"

runConformanceTests({
  baseUrl: process.env.TRIOPOLL_SERVER,
  longPollTimeoutMs: Number(process.env.TRIOPOLL_STREAM_SECONDS) * 1000,
  subscriptions: false,
})
