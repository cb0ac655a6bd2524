"""The same numbers as the authors' code and a well-known implementation, where PyTorch and these packages are there.

`pip install --no-deps diveq vector-quantize-pytorch einx frozendict loguru torch-einops-utils`, with torch and einops.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.quantizers import EMA, VQ, Residual, SimVQ

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("vector_quantize_pytorch", exc_type=ImportError)

K, D = 12, 5


def vectors(*shape, seed=0):
    return np.asarray(jax.random.normal(jax.random.key(seed), (*shape, D)), np.float32)


def with_codebook(quantizer, codebook):
    variables = quantizer.init(jax.random.key(0), codebook, False)
    mask = np.ones((len(codebook), 1), bool)
    return quantizer.apply(variables, mask, jnp.asarray(codebook), method="_replace", mutable=True)[1]


def ours(quantizer, variables, z, w):
    """Vectors, codes, loss, and the gradient of sum(w z_q) + loss to z and to the parameters."""

    def objective(params, z):
        quantized = quantizer.apply({**variables, "params": params}, z, False)
        return jnp.sum(w * quantized.z_q) + quantized.loss, quantized

    gradients, quantized = jax.grad(objective, argnums=(0, 1), has_aux=True)(variables.get("params", {}), z)
    return quantized.z_q, quantized.codes, quantized.loss, gradients[1], gradients[0]


def of_torch(module, z, w, **options):
    """The same of a module of PyTorch, and the module with the gradients of its parameters."""
    z = torch.tensor(z, requires_grad=True)
    z_q, codes, loss = module(z, **options)
    ((torch.tensor(w) * z_q).sum() + loss).backward()
    return z_q.detach().numpy(), codes.numpy(), loss.detach().numpy(), z.grad.numpy()


def agree(found, expected):
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


@pytest.mark.more
@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("gradient", ["straight_through", "rotation"])
def test_running_means_with_either_gradient(gradient, cosine):
    z, w, codebook = vectors(4, 9), vectors(4, 9, seed=1), vectors(K, seed=2)
    quantizer = EMA(code_dim=D, num_codes=K, beta=0.25, gradient=gradient, cosine=cosine)
    found = ours(quantizer, with_codebook(quantizer, codebook), z, w)
    module = theirs.VectorQuantize(
        dim=D, codebook_size=K, commitment_weight=0.25, rotation_trick=gradient == "rotation", use_cosine_sim=cosine
    )
    lengths = np.linalg.norm(codebook, axis=1, keepdims=True) if cosine else 1
    with torch.no_grad():
        module.codebook = torch.tensor(codebook / lengths)
    agree(found, of_torch(module, z, w, freeze_codebook=True))


@pytest.mark.parametrize("gradient", ["straight_through", "rotation"])
def test_simvq(gradient):
    z, w = vectors(4, 9), vectors(4, 9, seed=1)
    quantizer = SimVQ(code_dim=D, num_codes=K, beta=0.25, gradient=gradient)
    variables = quantizer.init(jax.random.key(0), z, False)
    variables["params"]["basis"] = jnp.asarray(vectors(D, seed=3))
    *found, of_params = ours(quantizer, variables, z, w)
    module = theirs.SimVQ(
        dim=D, codebook_size=K, rotation_trick=gradient == "rotation", input_to_quantize_commit_loss_weight=0.25
    )
    with torch.no_grad():
        module.frozen_codebook.copy_(torch.tensor(np.asarray(variables["constants"]["coefficients"])))
        module.code_transform.weight.copy_(torch.tensor(np.asarray(variables["params"]["basis"])))
    agree(found, of_torch(module, z, w))
    np.testing.assert_allclose(of_params["basis"], module.code_transform.weight.grad.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shared", [False, True])
def test_the_levels_of_a_residual(shared):
    """Codes, sums and losses; their gradient counts each level, and so is theirs alone."""
    z, books = vectors(4, 9), [vectors(K, seed=2 if shared else 2 + level) / (level + 1) for level in range(3)]
    if shared:
        books = [books[0]] * 3
    quantizer = Residual(D, EMA(code_dim=D, num_codes=K, beta=0.25), depth=3, shared=shared)
    names = ["quantizer"] if shared else ["levels_0", "levels_1", "levels_2"]
    parts = {name: with_codebook(quantizer.quantizer, book)["codebook"] for name, book in zip(names, books)}
    quantized = quantizer.apply({"codebook": parts}, z, False)
    module = theirs.ResidualVQ(
        dim=D, codebook_size=K, num_quantizers=3, shared_codebook=shared, commitment_weight=0.25, rotation_trick=False
    )
    with torch.no_grad():
        for layer, book in zip(module.layers, books):
            layer.codebook = torch.tensor(book)
    z_q, codes, losses = module(torch.tensor(z), freeze_codebook=True)
    np.testing.assert_array_equal(quantized.codes, codes)
    np.testing.assert_allclose(quantized.z_q, z_q.detach(), atol=1e-5)
    by_level = [quantized.metrics[f"commitment_loss_{level}"] for level in (1, 2, 3)]
    np.testing.assert_allclose(0.25 * np.array(by_level), losses.detach().reshape(-1), rtol=1e-5)


def test_diveq():
    """The detached form, by its authors."""
    diveq = pytest.importorskip("diveq")
    z, w, codebook = vectors(36), vectors(36, seed=1), vectors(K, seed=2)
    quantizer = VQ(code_dim=D, num_codes=K, gradient="diveq")
    *found, of_params = ours(quantizer, with_codebook(quantizer, codebook), z, w)
    module = diveq.DIVEQDetach(K, D, verbose=False)
    with torch.no_grad():
        module.codebook.copy_(torch.tensor(codebook))
    agree(found, of_torch(lambda z: (*module(z)[:2], torch.zeros(())), z, w))
    np.testing.assert_allclose(of_params["codebook"], module.codebook.grad.numpy(), rtol=1e-4, atol=1e-5)
