/**
 * Composition of a layer's context states for a batch of examples, forward and backward, group of contexts by group:
 * the groups have few shapes, sets of groups would have many, and each new shape is compiled.
 *
 * Letters: E examples, K slots for contexts, R rows of a group, H heads, N state size, P head dimension, W convolution
 * width kept, C its channels. In `contract`: r row, e example, k slot, h head, x all of a state.
 */
import type { CompositionMethod } from "../../compose/weights.js";
import { convWeights, slotWeights } from "./composition.js";
import { contract, jit, np, type Tensor, vjp } from "./jax.js";
import type { PastState } from "./layer.js";

/** States of a group of contexts in one layer. */
export type ContextGroup = PastState & {
  /** [R, H] */
  logDecay: Tensor;
};

/** Where a batch's contexts belong. */
export interface ContextPlaces {
  /** Per group [R, E, K]: 1 where the row is the context of that example's slot, else 0. A row of padding has none. */
  slots: readonly Tensor[];
  /** [E, K], 1 for slots with a context. */
  filled: Tensor;
}

type Weights = {
  /** [E, K, H] */
  ssm: Tensor;
  /** [E, K] */
  conv: Tensor;
};

/** Consumes the states it is given; `places` stay the caller's. */
export class StateComposition {
  private readonly place: (slot: Tensor, logDecay: Tensor, sum: Tensor) => Tensor;
  private readonly weigh: (logDecay: Tensor, filled: Tensor) => Weights;
  private readonly weighBackward: (logDecay: Tensor, filled: Tensor, gradient: Tensor) => Tensor;

  constructor(method: CompositionMethod) {
    this.place = jit((slot: Tensor, logDecay: Tensor, sum: Tensor) => sum.add(contract("rek,rh->ekh", slot, logDecay)));
    this.weigh = jit((logDecay: Tensor, filled: Tensor) => {
      return { ssm: slotWeights(method, logDecay, filled), conv: convWeights(method, filled) };
    });
    this.weighBackward = jit((logDecay: Tensor, filled: Tensor, gradient: Tensor) => {
      const [, pullBack] = vjp((x: Tensor) => slotWeights(method, x, filled), [logDecay]);
      return (pullBack(gradient) as [Tensor])[0];
    });
  }

  /** The composed state of each example, zero where it has no contexts. */
  forward(groups: readonly ContextGroup[], places: ContextPlaces): PastState {
    const examples = places.filled.shape[0]!;
    const [first] = groups as [ContextGroup];
    const weights = this.weigh(this.logDecays(groups, places), places.filled.ref);
    let sum: PastState = {
      ssm: np.zeros([examples, ...first.ssm.shape.slice(1)]),
      conv: np.zeros([examples, ...first.conv.shape.slice(1)]),
    };
    for (const [g, { ssm, conv, logDecay }] of groups.entries()) {
      logDecay.dispose();
      sum = gather({ ssm: weights.ssm.ref, conv: weights.conv.ref }, places.slots[g]!.ref, { ssm, conv }, sum);
    }
    weights.ssm.dispose();
    weights.conv.dispose();
    return sum;
  }

  /** The gradients of the groups' states, from that of the composed one, which is consumed too. */
  backward(groups: readonly ContextGroup[], places: ContextPlaces, gradient: PastState): ContextGroup[] {
    const logDecay = this.logDecays(groups, places);
    const weights = this.weigh(logDecay.ref, places.filled.ref);
    let ofWeights: Tensor = np.zeros(weights.ssm.shape);
    const states = groups.map(({ ssm, conv, logDecay: own }, g) => {
      own.dispose();
      const borrowed = { ssm: weights.ssm.ref, conv: weights.conv.ref };
      const whole = { ssm: gradient.ssm.ref, conv: gradient.conv.ref };
      const result = gatherBackward(borrowed, places.slots[g]!.ref, { ssm, conv }, whole, ofWeights);
      ofWeights = result.ofWeights;
      return result.state;
    });
    const ofDecay = this.weighBackward(logDecay, places.filled.ref, ofWeights);
    const gradients = states.map((state, g) => ({ ...state, logDecay: pick(places.slots[g]!.ref, ofDecay.ref) }));
    for (const tensor of [weights.ssm, weights.conv, gradient.ssm, gradient.conv, ofDecay]) tensor.dispose();
    return gradients;
  }

  /** Log decays by slot, [E, K, H]. Borrows. */
  private logDecays(groups: readonly ContextGroup[], { slots, filled }: ContextPlaces): Tensor {
    let sum: Tensor = np.zeros([...filled.shape, groups[0]!.logDecay.shape[1]!]);
    for (const [g, { logDecay }] of groups.entries()) sum = this.place(slots[g]!.ref, logDecay.ref, sum);
    return sum;
  }
}

const pick = jit((slot: Tensor, values: Tensor): Tensor => contract("rek,ekh->rh", slot, values));

const gather = jit((weights: Weights, slot: Tensor, state: PastState, sum: PastState): PastState => {
  const part = weightedSum(weights, slot, state);
  return { ssm: sum.ssm.add(part.ssm), conv: sum.conv.add(part.conv) };
});

const gatherBackward = jit(
  (
    weights: Weights,
    slot: Tensor,
    state: PastState,
    gradient: PastState,
    ofWeights: Tensor,
  ): { state: PastState; ofWeights: Tensor } => {
    const f = (ssm: Tensor, x: PastState) => weightedSum({ ssm, conv: weights.conv }, slot, x);
    const [, pullBack] = vjp(f, [weights.ssm, state]);
    const [own, ofState] = pullBack(gradient) as [Tensor, PastState];
    return { state: ofState, ofWeights: ofWeights.add(own) };
  },
);

/** What a group adds to each example's composed state. Inside `jit`; borrows. */
function weightedSum(weights: Weights, slot: Tensor, { ssm, conv }: PastState): PastState {
  const [rows] = slot.shape as [number];
  const ofRow = contract("rek,ekh->rh", slot, weights.ssm).reshape([rows, ssm.shape[1]!, 1, 1]);
  const convOfRow = contract("rek,ek->r", slot, weights.conv).reshape([rows, 1, 1]);
  const example = slot.ref.sum(2);
  return { ssm: collect(example, ssm.ref.mul(ofRow)), conv: collect(example, conv.ref.mul(convOfRow)) };
}

/** Sums rows by the example they belong to: example [R, E], values [R, ...] -> [E, ...]. */
function collect(example: Tensor, values: Tensor): Tensor {
  const [rows, ...rest] = values.shape as [number, ...number[]];
  return contract("re,rx->ex", example, values.reshape([rows, -1])).reshape([example.shape[1]!, ...rest]);
}
