/** Arrays on their way into a graph, and sequences of tokens as such. */
import * as ort from "onnxruntime-node";

/** An input of a graph. */
export interface Feed {
  name: string;
  data: Float32Array | BigInt64Array;
  shape: readonly number[];
}

export type Feeds = Record<string, ort.Tensor>;

export function toFeeds(feeds: readonly Feed[]): Feeds {
  return Object.fromEntries(feeds.map(({ name, data, shape }) => [name, toTensor(data, shape)]));
}

/** The values of a tensor in the host's memory. */
export function floats(tensor: ort.Tensor): Float32Array {
  return tensor.data as Float32Array;
}

export function sum(values: Float32Array): number {
  return values.reduce((a, b) => a + b, 0);
}

export function toTensor(data: Float32Array | BigInt64Array, shape: readonly number[]): ort.Tensor {
  return data instanceof Float32Array ? new ort.Tensor("float32", data, shape) : new ort.Tensor("int64", data, shape);
}
